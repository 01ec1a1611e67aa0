# Nothing for ordinary Python: importing the module checks the layouts.
