import json


def handle(event, context):
    """Called for every request.

    event    .body (bytes), .headers, .method, .path, .query
    context  .function_name, .call_id

    Return a body, or {"statusCode": ..., "headers": {...}, "body": ...}.
    """
    name = "World"
    if event.body:
        name = json.loads(event.body).get("name", name)
    return {"statusCode": 200, "body": {"message": f"Hello, {name}!"}}
