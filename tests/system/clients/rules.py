"""What the specifications of 1.0, 1.3, 1.4 and 1.5 say of a bridge's answers: the error for each malformed or impossible message,
and what packets, counters, port settings and messages of the switch's own look like.

usage: rules.py SOCKET errors|behaviour|roles [--only WORD]

Every message is written here by hand (struct, no codec): who judges shares no code with who is judged. Frames go in and come out
by the devices h1.. of this namespace. Prints a line for each rule that fails and a line with the counts; exit 1 when one fails.
"""

import argparse
import sys

import rules_behaviour
import rules_errors
import rules_roles
from openflow import Bridge, Failed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("socket")
    options.add_argument("what", choices=["errors", "behaviour", "roles"])
    options.add_argument("--only", default="")
    options = options.parse_args()
    rules = {"errors": rules_errors, "behaviour": rules_behaviour, "roles": rules_roles}[options.what].rules()
    passed = failed = 0
    for name, version, rule in rules:
        if options.only not in "%s %d" % (name, version):
            continue
        try:
            bridge = Bridge(options.socket, version)
            try:
                bridge.clear()
                rule(bridge)
            finally:
                bridge.close()
            passed += 1
        except (Failed, EOFError, TimeoutError) as e:
            failed += 1
            print("FAILED wire version %d: %s: %s" % (version, name, e or type(e).__name__))
    print("%d rules hold, %d do not" % (passed, failed))
    sys.exit(failed > 0)


main()
