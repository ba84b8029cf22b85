"""From systems and a suite to evidence: sets come in, numbers with intervals go out.

`suite` names the sets, `readers` turns files into `tasks`; `systems` puts models (`dense`), floors
(`lexical`) and pipelines (`reranked`) behind one face, `named` makes them from what a user writes;
`measure` gives every item a value, `results` keeps them, `evidence` says how sure a number is, `report`
writes it down.
"""
