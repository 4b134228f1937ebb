"""`nest-events erase`: deletes the events of one actor.

- `erase`: the command. `erasing`: the work, page by page.
- `receipt`: what it prints. `elsewhere`: what lies where no command of ours deletes.
"""
