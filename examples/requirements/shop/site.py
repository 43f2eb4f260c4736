"""One page: who may buy something here."""

import os

import django
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")


def customers(request):
    # Models are there only when the application is.
    from django.contrib.auth.models import User

    if name := request.GET.get("add"):
        User.objects.create_user(name)
    names = User.objects.order_by("username").values_list("username", flat=True)
    return JsonResponse({"django": django.get_version(), "customers": list(names)})


urlpatterns = [path("", customers)]
application = get_wsgi_application()
