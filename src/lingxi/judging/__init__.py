"""How a pair is judged: a model directory and pairs come in, states and a probability of each go out.

`contract` is the seam, `yes_no` a decoder that reads query and document together and answers, `late` an
embedder's states of each side's tokens, compared by a small trained head (`model.late`).
"""
