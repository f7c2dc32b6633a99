"""The page Settings: the settings in force, and the mistakes in the file as it is now. Read only.

* `page`: the routes, and the check of the file.
* `values`: the settings as rows, without secrets.
"""
