"""What a key and its end users may use: requests, tokens and money, in a minute, a day, a month."""
