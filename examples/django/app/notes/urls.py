"""GET / lists the notes, POST / adds one."""

from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

application = get_wsgi_application()

from notes.models import Note  # noqa: E402  (models need the application)


@csrf_exempt
def notes(request):
    if request.method == "POST":
        Note.objects.create(text=request.POST["text"])
    return JsonResponse({"notes": list(Note.objects.order_by("id").values_list("text", flat=True))})


urlpatterns = [path("", notes)]
