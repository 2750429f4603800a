"""Language models: one request in, one reply out, whoever serves it.

    model = open_model("z-ai/glm-4.6:exacto", environ=os.environ)     # ooda.models.select
    reply = await model.complete(request, grant)                      # ooda.models.request

Knows HTTP, the dialects of the providers and their misbehaviour; must not know runs, journals, prompts, prices or
tools. Nothing is handed out here: whoever names a type (`request`) must not pay for the transport behind it.
"""
