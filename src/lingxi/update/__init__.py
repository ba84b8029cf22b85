"""Update: a model learns something new in minutes, and what was stored by the old one stays searchable.

Comes in: a model, new pairs or documents, what it must not forget (its training pairs, or texts that it
embeds), a suite of old slices. Goes out: a release, which is promoted only where the gate lets it.

the flow    run: read, learn, blend, weigh the cost, ask the gate
rows        material: new pairs, and what is kept; anchors: kept texts with the old model's vectors
learning    settings, tuned (which weights), objective (the loss), learn
after       blend (a merge with the old weights), crossed and cost (old vectors under new queries),
            bridge (a map from old vectors to new ones)
serving     releases: one pointer says which model, map and space serve; served: an embedder made of them
the stream  watch, inbox, clicks, drift: documents and feedback come in, updates go out by themselves
"""
