"""One event, and events as they come: `nest-events trace`, `log` and `tail`.

- `records`: reads an event's rows. `history`: its attempts, take-overs and replays.
- `event_status`: where it is now, and what to do. `publish_times`: when it was published.
- `trace`: the command of that name. `finding`: the events that it is asked for. `logged_event`: the command `log`.
- `tail`: reads what is new, a batch a round. `tail_events` is its pure part, `tail_queries` has its queries, and
  `tail_lines` is the command.
"""
