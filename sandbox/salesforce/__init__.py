"""A Salesforce org to practise on: the same logins, queries, limits and errors."""
