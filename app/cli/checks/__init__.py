"""What the command ``check`` checks.

* `deployments`: calls every deployment, and compares their vectors.
* `spaces`: compares the vectors of one vector space.
* `compare`: whether two models serve one vector space.
* `services`: asks every service that is configured.
"""
