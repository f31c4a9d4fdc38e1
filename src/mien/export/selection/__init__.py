"""What of a project may leave, and how a folder is written: every export, data set and release reads through here.

What may enter: the gate (who and what stays behind, and why), one clip's rows at a time, people's labels keyed on
media, folders that are written whole or not at all. Nothing here knows a format.
"""
