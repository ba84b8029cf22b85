"""A model in, a smaller one out, with a bill of what it costs.

In: a model directory and texts. Out: a model directory with its golden file, and a manifest that says
what was cut, by which measure, and what was learnt again.

the flow    distil: teacher → weighed → cut → recovered → written; settings, the recipe
weigh       contributions: what a layer, a head and a neuron do on real texts
cut         cut, narrow, vocabulary: fewer layers, heads and neurons; fewer components; fewer tokens
recover     pool (a teacher's cached answers), recover (what the student learns from them), rounded (while
            its weights are rounded)
elsewhere   onnx_*, gguf, web: the same model for other runtimes and the browser; int4: codes of four bits
choose      variants, cost, frontier: quality, bytes and time of each form, and the best under a constraint
before      estimate: parameters, bytes and hours, counted before anything runs
"""
