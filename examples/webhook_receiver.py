"""Listens for an Imprint's messages, lets in only what it signed, and prints them: the beginning of a receiver of your own.

    imprint webhooks add http://127.0.0.1:9000/imprint                  # prints the secret
    WEBHOOK_SECRET=whsec_… python examples/webhook_receiver.py 127.0.0.1:9000

Needs `pip install standardwebhooks`; libraries of the same name are there for most languages.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

SIGNED = Webhook(os.environ["WEBHOOK_SECRET"])
SEEN = set()  # in a program that matters: a table with a unique column


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = SIGNED.verify(body, dict(self.headers))  # the signature, and that it is not older than five minutes
        except WebhookVerificationError as error:
            print("refused:", error, flush=True)
            self.send_response(401)
        else:
            if self.headers["webhook-id"] not in SEEN:  # one may come twice
                job = message["data"].get("job") or {}
                print(message["type"], job.get("id", ""), flush=True)
            SEEN.add(self.headers["webhook-id"])
            self.send_response(204)  # within 10 seconds: do what takes longer later
        self.end_headers()

    def log_message(self, *args):
        pass


host, port = sys.argv[1].split(":")
ThreadingHTTPServer((host, int(port)), Receiver).serve_forever()
