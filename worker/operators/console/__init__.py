"""`nest-events console`: what the commands show and do, in a browser on this machine.

- `serving`: the server on the loopback address, and what lives as long as it does.
- `security`: who may talk to it. Nothing behind it is reached without that.
- `app`: the routes, one module a page. `site`: what every page has. `rendering`: templates and what they may write.
- `kept`: answers that many pages ask for. `replays`: replays that go on without a page. `tails`: what pages follow.
- `forms`: what is typed into a page, as the commands take it. `charts`, `story`: what pages draw; pure.

A page asks through the functions of the commands, and decides nothing by rules of its own.
"""
