"""The workspace steward put together: policies of settings, a client, a store and the loop."""
