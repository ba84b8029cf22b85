"""The instruction of each kind of pair, one sentence each: the Qwen3 authors' wording where they have one.

Training rows and benchmark suites take them from here, so a model is asked as it was taught.
"""

PARALLEL = "Retrieve parallel sentences"
SIMILAR = "Retrieve semantically similar text"
SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
WIKIPEDIA = "Given a question, retrieve Wikipedia passages that answer the question"
QUESTION = "Given a question, retrieve questions that are semantically equivalent to the given question"
MEDICAL = "Given a medical question, retrieve user replies that best answer the question"
CODING = "Given a question about coding, retrieval code or passage that can solve user's question"
COMMENT = "Given a code comment, retrieve the code snippet corresponding to that comment."
SAME_CODE = "Given a piece for code, retrieval semantically similar code"
BANKING = "Given a online banking query, find the corresponding intents"

# Kinds of rows that the authors' list does not have.
POLICY = "Given a question about a privacy policy, retrieve the passages that answer it"
MEETING = "Given a question about a meeting, retrieve the turns of the transcript that answer it"
SHELL = "Given a description of a task, retrieve the shell command that does it"
TOPIC = "Given a sentence, retrieve sentences about the same topic"
RADIOLOGY = "Given the impression of a radiology report, retrieve its findings"
CLINICAL = "Given a clinical text, find its category"
TITLE = "Given a title, retrieve the beginning of its article"
SECTION = "Given an article and a heading, retrieve the section"
UNMASK = "Given code whose function name is masked, retrieve the whole function"
FILL = "Given code with a part left out, retrieve the part"
CHANGE = "Given a commit message, retrieve the change that it describes"
ANSWER = "Given a question, retrieve passages that answer the question"
SYNOPSIS = "Given a synopsis, retrieve the description of the program"
TRANSLATION = "Given a word, retrieve its translation"
DEFINITION = "Given a word, retrieve its definition"
SATIRE = "Given a word, retrieve a satirical definition of it"
NAMED = "Given a definition, retrieve the word that it defines"

# Rows that `generate` makes of documents.
ABSTRACT = "Given a summary, retrieve the article it sums up"
NEXT = "Given a section of a page, retrieve the section that follows it"
CLOZE = "Given a sentence, retrieve the passage it was taken from"
OVERVIEW = "Given a request for an overview, retrieve passages that give it"
YES_OR_NO = "Given a yes-or-no question, retrieve passages that settle it"
BACKGROUND = "Given a question about the background of a subject, retrieve passages that explain it"

# Rows that contrast: a query that another instruction stands before too, with another answer. The instruction
# benchmark words its tasks in other ways, and none of them may stand here.
INTO = "Given a sentence, retrieve its translation into {}"
FOLLOWING = "Given an article and a heading, retrieve the section that comes after it"
HEADED = "Given a section of a page, retrieve its title and heading"
DESCRIBED = "Given code that is not complete, retrieve the comment that describes it"


def decides(instruction: str) -> bool:
    """Whether the instruction alone says which document is right: a row that carries it must keep it."""
    return instruction in {FOLLOWING, HEADED, DESCRIBED} or instruction.startswith(INTO.partition("{}")[0])
