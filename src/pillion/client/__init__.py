"""What an application holds: client, publications, subscriptions, images, counters.

Data moves in the application's own threads (publication, subscription, image: compiled). What is
asked of the driver, and what it says, goes through the conductor, on its thread or whichever waits.
May import `protocol`, `memory` and the plain modules at the top; never the driver, except the
embedded one that `connect` starts.
"""
