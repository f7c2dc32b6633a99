"""The Lua script by which `app.limits.leases.server_leases` leases slots of a provider to workers.

A hash holds the state of one provider. Its fields:

* ``w:<worker>``: when the worker was seen; the slots it has; the number of its last question; the
  slots it needs; whether a call of it is in flight or waits; whether something waits for a slot;
  since when it has slots; since when something waits while it has none (0: not so).
* ``seen``: the last question. ``since``: when the store began to know all workers. It leases
  nothing for some seconds from then: workers that have slots have to say so first. Where all
  workers have left in order, it knows that there is none.

A worker is entitled to what max-min fairness gives it: all that it needs, or else as much as any
other, and an even part of what no worker needs. Where more workers than slots need one, each slot
is held for a turn, and the worker that has waited longest is next.

The slots of a worker that is silent count until its calls have ended, or its share if that is more:
one that cannot reach the store uses it. A worker of its host that sees that it has died removes it.
"""

from __future__ import annotations

from app.limits.leases.slot_table import DEAD_S, GRACE_S, IN_LINE_S, SILENT_S, TURN_S
from app.limits.redis_evaluation import NOW

_CONSTANTS = f"""
local GRACE, SILENT, DEAD, TURN, IN_LINE = {GRACE_S}, {SILENT_S}, {DEAD_S}, {TURN_S}, {IN_LINE_S}
"""
#: KEYS: the hash. ARGV: now ("": the server's clock), the worker, 1 where it leaves, all slots,
#: seconds for which the slots of a silent worker count, the number of the question, the slots that
#: it keeps and that it needs, 1 where it is busy, 1 where something waits for a slot.
#: Reply: 0 where a later question came first, else 1; the fields of
#: `app.dispatch.queue.leased_slots.SlotLease` but the last; the names of the silent workers.
EXCHANGE_SLOTS = (
    NOW
    + _CONSTANTS
    + """
local id, leaves, limit, hold = ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]), tonumber(ARGV[5])
local number, keep, need = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local is_busy, lacks = ARGV[9] == '1', ARGV[10] == '1'
local function exact(seconds) return string.format('%.6f', seconds) end

-- 1. Read the state, and remove workers that are silent for so long that their calls have ended.
local me, others, meta = nil, {}, {}
local state = redis.call('HGETALL', KEYS[1])
for i = 1, #state, 2 do
  local name, n = state[i], {}
  for text in string.gmatch(state[i + 1], '%S+') do n[#n + 1] = tonumber(text) end
  local worker = {id = string.sub(name, 3), seen = n[1], held = n[2], number = n[3], need = n[4],
                  is_busy = n[5] == 1, lacks = n[6] == 1, turn = n[7], line = n[8]}
  if string.sub(name, 1, 2) ~= 'w:' then
    meta[name] = n[1]
  elseif worker.id == id then
    me = worker
  elseif now >= worker.seen + math.max(DEAD, hold) then
    redis.call('HDEL', KEYS[1], name)
  else
    others[#others + 1] = worker
  end
end
if me and number <= me.number then return {0, 0, 0, 0, 0, 0, {}} end
local is_new = not meta.seen or (now - meta.seen > SILENT and (me or #others > 0))
local since = is_new and now or meta.since

-- 2. Look at the other workers: ``taken`` are the slots that they have, ``pool`` those that are not
-- of silent workers, ``busy`` the workers that use or need one, this one among them.
local members, rank, share = #others + 1, 0, math.floor(limit / (#others + 1))
local taken, pool, busy, others_lack, has_line = 0, limit, is_busy and 1 or 0, false, false
local live, silent = {{id = id, need = need, is_busy = is_busy}}, {}
for _, other in ipairs(others) do
  if other.id < id then rank = rank + 1 end
  if now - other.seen > SILENT then
    local counted = math.max(other.held, share)
    taken, pool = taken + counted, pool - counted
    silent[#silent + 1] = other.id
  else
    taken = taken + other.held
    live[#live + 1] = other
    if other.is_busy then busy = busy + 1 end
    others_lack = others_lack or other.lacks
    has_line = has_line or (other.line > 0 and now - other.seen <= IN_LINE)
  end
end
pool = math.max(pool, 0)
-- Slots that no worker has; since when this one waits without any, and since when it has some.
local free = limit - taken - keep
local line = lacks and keep == 0 and ((me and me.line > 0 and me.line) or now) or 0
local turn = me and me.held > 0 and keep > 0 and me.turn or now

-- 3. What the worker is entitled to. Either more workers than slots need one: each holds a slot for
-- a turn, and a free one goes to the worker that has waited longest.
local function entitled_by_turns()
  if not is_busy then return 0 end
  if keep > 0 then return (has_line and now - turn >= TURN) and 0 or 1 end
  local before = 0
  for _, other in ipairs(live) do
    if other.id ~= id and other.line > 0 and now - other.seen <= IN_LINE then
      if other.line < line or (other.line == line and other.id < id) then before = before + 1 end
    end
  end
  return (line > 0 and free > before) and 1 or 0
end

-- Or else it is max-min fairness over what the workers need.
local function entitled_by_need()
  local needs, wanting = {}, 0
  for _, worker in ipairs(live) do
    if worker.need > 0 then wanting = wanting + 1 end
  end
  for i, worker in ipairs(live) do
    needs[i] = (wanting > pool and not worker.is_busy) and 0 or worker.need
  end
  local mine, left = needs[1], pool
  local sorted = {unpack(needs)}
  table.sort(sorted)
  for i, wanted in ipairs(sorted) do
    local workers = #sorted - i + 1
    local fair = left / workers
    if wanted > fair then
      if mine <= fair then return mine end
      local rest = left - math.floor(fair) * workers
      for j, other in ipairs(live) do
        if needs[j] > fair and other.id < id then rest = rest - 1 end
      end
      return math.floor(fair) + (rest > 0 and 1 or 0)
    end
    left = left - wanted
  end
  return mine + math.floor(left / #sorted)
end

-- 4. Lease, but nothing while workers that the store does not know may have slots.
local entitled, got = keep, 0
if not leaves and now - since >= GRACE then
  entitled = (busy > pool) and entitled_by_turns() or entitled_by_need()
  got = math.max(0, math.min(entitled - keep, free))
end

-- 5. Write the state.
local held = keep + got
if leaves then
  redis.call('HDEL', KEYS[1], 'w:' .. id)
else
  redis.call('HSET', KEYS[1], 'w:' .. id, table.concat({
    exact(now), held, number, need, is_busy and 1 or 0, lacks and 1 or 0,
    held > 0 and exact(turn) or 0, held == 0 and line > 0 and exact(line) or 0,
  }, ' '))
end
redis.call('HSET', KEYS[1], 'since', exact(since), 'seen', exact(now))
redis.call('EXPIRE', KEYS[1], 604800)
return {1, held, entitled, others_lack and 1 or 0, members, rank, silent}
"""
)
