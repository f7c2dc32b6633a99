"""The Lua script with which `app.limits.leases.server_leases` leases a quota to workers.

A hash holds the state of one quota (calls and tokens of any minute). Its fields:

* ``b:<number>``: calls and tokens that were sent in that second, as they were reported.
* ``w:<worker>``: when the worker was seen; whether it has a lease; the calls and tokens it holds;
  until when; how many calls it has reported ever; whether it was refused what it needed.
* ``since``: when the store began to know all workers. It leases nothing for some seconds from
  then: workers that have used their share have to report that first.
* ``seen``: the last question. ``calls_due``, ``tokens_due``: when all calls and tokens leased so
  far are due at the rate of the quota (the generic cell rate algorithm, ITU-T I.371).

What a worker holds counts until a minute after its lease has expired: a worker that has died may
have used it at the last moment. The shares of silent workers are not leased to others: a worker
that cannot reach the store uses its share.
"""

from __future__ import annotations

from app.limits.redis_evaluation import NOW

#: KEYS: the hash. ARGV: now ("": the server's clock), the worker, 1 where it leaves, seconds of a
#: lease, seconds of the window, share of it that may leave at once, limits of calls and
#: tokens ("": none), calls and tokens that it keeps, needs, wants (in pairs), how many calls it has
#: reported ever; then of each call to report the seconds since it was sent, and its tokens.
#: Reply: the fields of `app.dispatch.quotas.lease.Lease`, in order; times in milliseconds.
#: In the script, a table of two values has that of calls, then that of tokens.
EXCHANGE_QUOTA = (
    NOW
    + """
local BUCKET, SILENT, DEAD, GRACE = 1, 3, 75, 3
local id, leaves, lease_s = ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local window, burst = tonumber(ARGV[5]), tonumber(ARGV[5]) * tonumber(ARGV[6])
local limit = {tonumber(ARGV[7]) or 1e15, tonumber(ARGV[8]) or 1e15}
local keep = {tonumber(ARGV[9]), tonumber(ARGV[10])}
local need = {tonumber(ARGV[11]), tonumber(ARGV[12])}
local want = {tonumber(ARGV[13]), tonumber(ARGV[14])}
local final = tonumber(ARGV[15])
local needs = need[1] > 0 or need[2] > 0

local function exact(seconds) return string.format('%.6f', seconds) end
local function whole(number) return string.format('%.0f', number) end
local function set_bucket(place, calls, tokens)
  redis.call('HSET', KEYS[1], 'b:' .. place, whole(calls) .. ' ' .. whole(tokens))
end

-- 1. Read the state: usage by the second, workers, and the times of the store itself.
local buckets, workers, meta = {}, {}, {}
local state = redis.call('HGETALL', KEYS[1])
for i = 1, #state, 2 do
  local name, value = state[i], state[i + 1]
  local kind = string.sub(name, 1, 2)
  local numbers = {}
  for number in string.gmatch(value, '%S+') do numbers[#numbers + 1] = tonumber(number) end
  if kind == 'b:' then
    buckets[tonumber(string.sub(name, 3))] = numbers
  elseif kind == 'w:' then
    workers[string.sub(name, 3)] = numbers
  else
    meta[name] = numbers[1]
  end
end
if not meta.seen or now - meta.seen > SILENT then meta.since = now end
local unit_s = {window / limit[1], window / limit[2]}
local due = {math.max(meta.calls_due or 0, now), math.max(meta.tokens_due or 0, now)}

-- 2. Count the report: calls that the store has counted already are the first ones. A worker that
-- is not known may have reported more, to a store that has lost it: it has to report all of that
-- again.
local me = workers[id]
local number = (#ARGV - 15) / 2
local fresh = me and math.min(number, final - me[6]) or 0
if not me then final = final - number end
local reported = {0, 0}
for i = number - fresh + 1, number do
  local at, tokens = now - tonumber(ARGV[14 + 2 * i]), tonumber(ARGV[15 + 2 * i])
  local place = math.floor(at / BUCKET)
  local bucket = buckets[place] or {0, 0}
  buckets[place] = {bucket[1] + 1, bucket[2] + tokens, true}
  reported = {reported[1] + 1, reported[2] + tokens}
end
-- What was used in the window, and the seconds in which it was, the oldest first.
local used, places = {0, 0}, {}
for place, bucket in pairs(buckets) do
  if (place + 1) * BUCKET + window <= now then
    redis.call('HDEL', KEYS[1], 'b:' .. place)
    buckets[place] = nil
  else
    if bucket[3] then set_bucket(place, bucket[1], bucket[2]) end
    used = {used[1] + bucket[1], used[2] + bucket[2]}
    places[#places + 1] = place
  end
end
table.sort(places)

-- 3. Look at the other workers: what they hold counts as used.
local members, joined, lacking, rank = 1, 1, 0, 0
for other, w in pairs(workers) do
  if other ~= id then
    local seen, leased, until_ = w[1], w[2], w[5]
    if now >= seen + DEAD and now >= until_ + window then
      redis.call('HDEL', KEYS[1], 'w:' .. other)
    else
      members = members + 1
      if other < id then rank = rank + 1 end
      if leased == 1 and now - seen <= SILENT then joined = joined + 1 end
      if w[7] == 1 and now - seen <= SILENT then lacking = lacking + 1 end
      if now < until_ + window then used = {used[1] + w[3], used[2] + w[4]} end
    end
  end
end

-- 4. Take back what this worker held and has neither used nor kept. Where it leaves, all it keeps
-- counts as used now.
local had = me and me[2] == 1 and {me[3], me[4]} or {0, 0}
if leaves then
  redis.call('HDEL', KEYS[1], 'w:' .. id)
  if keep[1] > 0 or keep[2] > 0 then
    local place = math.floor(now / BUCKET)
    local bucket = buckets[place] or {0, 0}
    set_bucket(place, bucket[1] + keep[1], bucket[2] + keep[2])
  end
end
-- Seconds in which nothing is leased: until all workers have reported, or until this one has.
local grace = me and GRACE - (now - meta.since) or 0.05
local got, free, waits, lacks = {0, 0}, {0, 0}, {0, 0}, false
for u = 1, 2 do
  local returned = had[u] - keep[u] - reported[u]
  due[u] = math.max(due[u] - returned * unit_s[u], now)
  free[u] = math.floor(limit[u] * joined / members - used[u] - keep[u])
end
-- 5. Lease. There are four cases: (1) nothing in the grace time; (2) nothing to a worker that
-- leaves; (3) what is wanted, bounded by the rate and by the room of the window, which is shared
-- with the workers that lack some; but (4) nothing where that is less than what is needed: the
-- reply says how long the worker has to wait.
if grace > 0 then
  waits, lacks = {0, grace}, needs
elseif not leaves then
  local enough = true
  for u = 1, 2 do
    local room, paced = free[u], 0
    local fair = math.ceil(room / (lacking + 1))
    room = math.min(room, math.max(need[u], fair))
    local left = burst - (due[u] - now)
    paced = left >= -0.000001 and math.max(need[u], math.floor(left / unit_s[u])) or 0
    -- More than the whole limit fits into an empty window.
    local is_empty = used[2] + keep[2] <= 0
    if u == 2 and need[2] > limit[2] * joined / members and is_empty then room = need[2] end
    got[u] = math.max(0, math.min(want[u], room, paced))
    if got[u] < need[u] then enough = false end
  end
  if needs and not enough then
    got, lacks = {0, 0}, true
    -- Until the window has room: when the oldest usage that is missing has left it.
    local missing = {need[1] - free[1], need[2] - free[2]}
    for _, place in ipairs(places) do
      if missing[1] <= 0 and missing[2] <= 0 then break end
      missing = {missing[1] - buckets[place][1], missing[2] - buckets[place][2]}
      waits[1] = (place + 1) * BUCKET + window - now
    end
    if missing[1] > 0 or missing[2] > 0 then waits[1] = math.max(waits[1], 0.5) end
    -- No burst when a full window has room again: it would come again with each window.
    local room_at = now + waits[1] + burst
    for u = 1, 2 do
      local is_full = free[u] < 0.1 * limit[u] and waits[1] > 0
      if is_full then due[u] = math.max(due[u], room_at) end
      waits[2] = math.max(waits[2], due[u] - now - burst)
    end
    waits[2] = math.max(waits[2], 0.05)
  end
end
-- 6. Write the state.
for u = 1, 2 do
  free[u] = math.max(0, free[u] - got[u])
  due[u] = due[u] + got[u] * unit_s[u]
end
if not leaves then
  redis.call('HSET', KEYS[1], 'w:' .. id, table.concat({
    exact(now), 1, whole(keep[1] + got[1]), whole(keep[2] + got[2]),
    exact(now + lease_s), whole(final), lacks and 1 or 0,
  }, ' '))
end
redis.call('HSET', KEYS[1], 'since', exact(meta.since), 'seen', exact(now),
  'calls_due', exact(due[1]), 'tokens_due', exact(due[2]))
redis.call('EXPIRE', KEYS[1], 600)

-- 7. What the worker may use if the store is away from now on. Others may have what it leases
-- within the next two seconds: that is not spare. The workers' shares fit into each minute if they
-- begin after a wait.
local share_wait, spare = 0, {free[1], free[2]}
for u = 1, 2 do
  if limit[u] < 1e15 then
    local may_lease = (math.max(0, burst - due[u] + now) + 2) / unit_s[u]
    spare[u] = math.floor(math.max(0, free[u] - may_lease))
    local taken = used[u] + keep[u] + got[u] + math.min(free[u], may_lease)
    for _, place in ipairs(places) do
      local ends_in = (place + 1) * BUCKET + window - now
      share_wait = math.max(share_wait, ends_in - (limit[u] - taken) * unit_s[u])
      taken = taken - buckets[place][u]
    end
    share_wait = math.max(share_wait, window + lease_s - (limit[u] - taken) * unit_s[u])
  end
end
return {
  leaves and 0 or 1, -- is_leased
  me and 1 or 0, -- is_known
  whole(got[1]), -- calls
  whole(got[2]), -- tokens
  members,
  whole(waits[1] * 1000 + 0.5), -- window_wait
  whole(waits[2] * 1000 + 0.5), -- pace_wait
  whole(spare[1]), -- spare_calls
  whole(spare[2]), -- spare_tokens
  whole(share_wait * 1000), -- share_wait
  rank,
}
"""
)
