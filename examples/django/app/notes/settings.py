"""Everything that differs from place to place comes from the environment."""

import os
import pathlib

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for the example")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "notes.urls"
INSTALLED_APPS = ["notes"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["POSTGRES_HOST"],
        "NAME": os.environ["POSTGRES_DB"],
        "USER": os.environ["POSTGRES_USER"],
        "PASSWORD": pathlib.Path(os.environ["POSTGRES_PASSWORD_FILE"]).read_text().strip(),
    }
}
