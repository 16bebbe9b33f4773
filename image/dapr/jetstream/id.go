package jetstream

import (
	"bytes"
	"encoding/json"
)

// messageID is what the broker recognises a repetition by (header Nats-Msg-Id): `<topic>/<id>`, or nothing. The topic is part of it because
// a stream carries several, and Dapr publishes a dead letter as a copy of the event with the event's own id: on another topic that is no
// repetition.
func messageID(topic string, event []byte) string {
	id := eventID(event)
	if id == "" {
		return ""
	}
	return topic + "/" + id
}

// eventID finds the `id` of a CloudEvent in JSON without reading past it. What is no JSON object, or has no id, has no deduplication.
func eventID(event []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(event))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return ""
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return ""
		}
		if key == "id" {
			id, err := decoder.Token()
			if text, ok := id.(string); err == nil && ok {
				return text
			}
			return ""
		}
		var skipped json.RawMessage
		if err := decoder.Decode(&skipped); err != nil {
			return ""
		}
	}
	return ""
}
