"""The deployments of a model: which one an attempt is sent to, and what each takes and returns.

* `preparation`: the deployments that can serve a request, and its tokens, before it has a job (504
  where the deadline passes meanwhile).
* `pool`: the deployments of one model; chooses one for each attempt.
* `draw`: draws two of those that are available, and returns the less busy one.
* `ejector`: records the results of calls, and ejects failing deployments.
* `accounts`: the retry budget, which bounds the calls that the proxy adds by itself; what the next
  request of a key pays for attempts whose requests had ended.
* `deployment`: the limits of one deployment, which calls to it may be merged, the call itself, and
  how well the deployment agrees with the reference of its space.
* `token_estimate`: the expected tokens of items, and a provider's count of them by item.
* `call_size`: splits a large request into calls; whether calls are to be smaller after one that was
  refused as too large.
* `suitability`: whether the texts of a request are within the context of the model, and which
  widths of vectors a deployment can return.
* `refused_items`: items that are not merged again.
* `refused_kinds`: kinds of requests that all deployments seem to refuse.
"""
