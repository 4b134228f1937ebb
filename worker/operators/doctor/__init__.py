"""`nest-events doctor`: checks each dependency and setting, and whether events flow.

`checks` asks side by side, `findings` judges the settings of subscriptions, `flow` takes over the verdict of `status`,
`statsig_key` asks Statsig about the key, `diagnosis` prints it all.
"""
