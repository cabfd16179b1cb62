"""What a schedule is: a rate and its numbers, as a function of the step."""
