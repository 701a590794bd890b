"""The page: what is heard, live, in a browser; served by a process of its own.

`page` is the daemon's side: an observer that hands what happens to that process and never waits for it. The process
(`server`) answers browsers: `access` decides to whom, `live` sends what happens, `past` what happened, `uploads` has
recordings analysed by yet another process (`analyse`). What browsers get is in `files/`.

Why processes: Python runs one thread at a time, and neither the audio callback nor the loop may ever stand behind a
browser. A process of its own can also be given a lower priority, be the first that a full memory costs, and die
without taking the light with it. It costs about 20 MB.
"""
