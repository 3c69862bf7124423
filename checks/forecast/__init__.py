"""From measurements and limits to the number of users at which an integration point breaks."""
