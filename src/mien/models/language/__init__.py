"""Models of language, with or without pictures: one file per runtime, one way to read what they say."""
