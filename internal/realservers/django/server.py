"""Django with REST framework, simplejwt and djoser, for the tests of this folder.

    python3 server.py SECONDS DATABASE

serves on a free port of 127.0.0.1 until its standard input ends. Access tokens
live SECONDS; refresh tokens rotate, and a spent one is blacklisted. Counts are at
GET /_test/counts; POST /_test/revoke blacklists the last refresh token.
"""

import collections
import hashlib
import json
import os
import secrets
import sys
import threading
from datetime import timedelta

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": sys.argv[2],
            "OPTIONS": {"timeout": 30},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
        "djoser",
    ],
    MIDDLEWARE=[
        "__main__.count",
        "django.middleware.common.CommonMiddleware",  # Content-Length, or no connection is kept
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication.JWTAuthentication"
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    ROOT_URLCONF="__main__",
    SECRET_KEY=secrets.token_hex(32),
    SIMPLE_JWT={
        "ACCESS_TOKEN_LIFETIME": timedelta(seconds=int(sys.argv[1])),
        "ROTATE_REFRESH_TOKENS": True,
        "BLACKLIST_AFTER_ROTATION": True,
    },
    USE_TZ=True,
)
django.setup()

import waitress
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.http import JsonResponse
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework_simplejwt.tokens import RefreshToken

lock = threading.Lock()
counts = collections.Counter()
spent = collections.Counter()  # refresh token to how often it was presented
last = None  # the last refresh token that was given out


def count(get_response):
    def middleware(request):
        if request.path.startswith("/_test/"):
            return get_response(request)
        refreshes = request.path.startswith("/v1/auth/jwt/refresh/")
        signs_in = request.path.startswith("/v1/auth/jwt/create/")
        presented = json.loads(request.body).get("refresh") if refreshes else None
        response = get_response(request)
        global last
        with lock:
            if refreshes:
                counts["refreshes"] += 1
                counts["refreshed"] += response.status_code == 200
                spent[presented] += 1
            elif signs_in:
                counts["signIns"] += response.status_code == 200
            else:
                counts["requests"] += 1
                counts["refused"] += response.status_code == 401
            if response.status_code == 200 and (refreshes or signs_in):
                last = response.data["refresh"]
        return response

    return middleware


def show_counts(request):
    with lock:
        return JsonResponse({**counts, "mostSpent": max(spent.values(), default=0)})


def revoke(request):
    with lock:
        RefreshToken(last).blacklist()
    return JsonResponse({})


@api_view(["POST"])
def sha256(request):
    return Response({"sha256": hashlib.sha256(request.body).hexdigest()})


urlpatterns = [
    path("v1/auth/", include("djoser.urls")),
    path("v1/auth/", include("djoser.urls.jwt")),
    path("v1/sha256/", sha256),
    path("_test/counts", show_counts),
    path("_test/revoke", revoke),
]


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("ann", password="correct horse")
    server = waitress.create_server(
        get_wsgi_application(), host="127.0.0.1", port=0, threads=8
    )
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(f"listening on http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()
