"""Flask with flask-jwt-extended in cookie mode, for the tests of this folder.

    python3 server.py SECONDS

serves on a free port of 127.0.0.1 until its standard input ends. Access tokens
live SECONDS; refresh tokens rotate, and a spent one is blocked. Counts are at GET
/_test/counts; POST /_test/revoke blocks every refresh token that was given out.
"""

import collections
import hashlib
import os
import secrets
import sys
import threading
from datetime import timedelta

import waitress
from flask import Flask, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    get_jti,
    get_jwt,
    get_jwt_identity,
    jwt_required,
    set_access_cookies,
    set_refresh_cookies,
)

app = Flask(__name__)
app.config.update(
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=int(sys.argv[1])),
    JWT_COOKIE_CSRF_PROTECT=True,
    JWT_REFRESH_COOKIE_PATH="/token/refresh",
    JWT_SECRET_KEY=secrets.token_hex(32),
    JWT_SESSION_COOKIE=False,  # the cookies outlive the tokens in them, as is usual
    JWT_TOKEN_LOCATION=["cookies"],
)
jwt = JWTManager(app)

lock = threading.Lock()
counts = collections.Counter()
spent = collections.Counter()  # refresh token to how often it was presented
issued, blocked = set(), set()  # ids of refresh tokens


@jwt.token_in_blocklist_loader
def is_blocked(header, payload):
    with lock:
        return payload["jti"] in blocked


def give_cookies(answer, identity):
    refresh = create_refresh_token(identity)
    with lock:
        issued.add(get_jti(refresh))
    response = jsonify(answer)
    set_access_cookies(response, create_access_token(identity))
    set_refresh_cookies(response, refresh)
    return response


@app.post("/token/auth")
def sign_in():
    given = request.get_json()
    if (given.get("username"), given.get("password")) != ("ann", "correct horse"):
        return jsonify(login=False), 401
    return give_cookies({"login": True}, "ann")


@app.post("/token/refresh")
@jwt_required(refresh=True)
def refresh():
    with lock:
        if get_jwt()["jti"] in blocked:  # another request was faster
            return jsonify(refresh=False), 401
        blocked.add(get_jwt()["jti"])
    return give_cookies({"refresh": True}, get_jwt_identity())


@app.get("/me")
@jwt_required()
def me():
    return jsonify(username=get_jwt_identity())


@app.post("/sha256")
@jwt_required()
def sha256():
    return jsonify(sha256=hashlib.sha256(request.get_data()).hexdigest())


@app.get("/_test/counts")
def show_counts():
    with lock:
        return jsonify({**counts, "mostSpent": max(spent.values(), default=0)})


@app.post("/_test/revoke")
def revoke():
    with lock:
        blocked.update(issued)
    return jsonify()


@app.after_request
def count(response):
    with lock:
        if request.path == "/token/refresh":
            counts["refreshes"] += 1
            counts["refreshed"] += response.status_code == 200
            spent[request.cookies.get("refresh_token_cookie")] += 1
        elif request.path == "/token/auth":
            counts["signIns"] += response.status_code == 200
        elif not request.path.startswith("/_test/"):
            counts["requests"] += 1
            counts["refused"] += response.status_code == 401
    return response


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
