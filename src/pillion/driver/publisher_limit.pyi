# Nothing for ordinary Python: the functions of this module are the data plane's, declared in the `.pxd`.
