"""Authentication: a bearer key or an identity provider's token gives a `Caller`.

* `authenticator`: finds the caller, among keys of the settings first; refuses blocked keys and
  wrong networks.
* `database_keys`: keys of the database, held in memory; `key_table`: reads and changes them there;
  `key_entry`: one of them as a value.
* `key_rights`: parses rights that an operator gives.
* `blocklist`: keys and end users that are refused; `block_table`: those in the database;
  `block_refresh`: keeps a worker's copy of them up to date.
* `oidc`: tokens of an identity provider. `jwks`: its public keys; `jwks_fetch`: fetches them.
* `snapshots`: copies of keys of both, for a start while the database or the provider is away.
"""
