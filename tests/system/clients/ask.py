"""One request to an application's REST interface. Arguments: METHOD URL [BODY]."""

import sys
import urllib.request

method, url, *body = sys.argv[1:]
data = body[0].encode() if body else None
with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10) as answer:
    print(answer.read().decode())
