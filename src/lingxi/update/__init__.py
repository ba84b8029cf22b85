"""Update: a model learns something new in minutes, and what was stored by the old one stays searchable.

Comes in: a model, new pairs or documents, what it must not forget (its training pairs, or texts that it
embeds), a suite of old slices. Goes out: a release, which is promoted only where the gate lets it.

the flow    run: learn, merge, map, gate, promote; making: the release in progress; gate: against the release
            before, and in sum since an anchor
rows        material: new pairs, and what is kept; anchors: kept texts with the old model's vectors
learning    settings, tuned (which weights), objective (the loss), learn
after       blend (a merge with the old weights), crossed and cost (old vectors under new queries),
            bridge (a map from old vectors to new ones)
serving     releases: which model, map and space serve, by one file of pointers; served: an embedder of them
the stream  watch, inbox, clicks, drift: documents and feedback come in, updates go out by themselves
"""
