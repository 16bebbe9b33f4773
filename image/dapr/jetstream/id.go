package jetstream

import (
	"bytes"
	"encoding/json"
)

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
