"""What counts: each condition judges one snapshot, with three possible answers.

Met is asked first. Impossible is final, for the reason it gives. Anything else is pending.
A verdict may ask to be confirmed: it counts once it has stood for some seconds, look after look.
"""
