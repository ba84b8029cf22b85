"""People read a sample: a page shows rows, keys give verdicts, verdicts say how good each stratum is.

`sample` draws rows by source, language and score; `verdicts` keeps what was said, crash or not; `figures`
turns it into precision with intervals and agreement of reviewers; `page` is what a reviewer sees;
`feedback` is what verdicts change in the next curate; `exchange` moves them to Argilla and Label Studio.
"""
