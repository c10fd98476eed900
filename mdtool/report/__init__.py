"""What was found, as one page of HTML that opens anywhere: no script, and nothing that is fetched.

contents says what goes on the page, as plain data; page makes the text of it.
"""
