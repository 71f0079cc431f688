"""How the policies of a library behave: functions that are sent to where the policies are, and what is made of them."""
