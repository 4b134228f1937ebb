"""One event: `nest-events trace` and `log`.

- `records`: reads an event's rows. `history`: its attempts, take-overs and replays.
- `event_status`: where it is now, and what to do. `publish_times`: when it was published.
- `trace`: the command of that name. `logged_event`: the command `log`.
"""
