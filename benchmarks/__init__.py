"""The measured comparison: `python -m benchmarks` runs rows of peers, alternating, and reports what it measured.

`rows` says what is measured, `peers/` who takes part (a module a library), `programs/` what runs in the processes of a
peer (under the Python of that peer, so it imports the standard library and that one library), `measuring` takes one
sample, `runner` alternates, `stats` and `report` count and print.
"""
