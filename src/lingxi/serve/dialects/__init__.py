"""The shapes of others: each module has a `router` over the service and a `refusal` in its own words."""
