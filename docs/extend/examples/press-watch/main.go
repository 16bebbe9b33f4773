// Press-watch is a module in Go's own library: it raises an alarm when a tag passes a limit, and offers the command `limit`.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const commands = `{"commands":[{"name":"limit","description":"Sets the limit, or tells it","input":{"properties":{"limit":{"type":"number"}}}}]}`

type event struct {
	ID, Source, Type, Subject string
	Time                      time.Time
	Data                      any
	value                     float64
}

var (
	module, tag = os.Getenv("FIELDGATE_MODULE"), os.Getenv("WATCH_TAG")
	publish     = "http://127.0.0.1:" + os.Getenv("DAPR_HTTP_PORT") + "/v1.0/publish/" + os.Getenv("FIELDGATE_PUBSUB")
	stored      = "/var/lib/fieldgate/state/limit"
	mutex       sync.Mutex // of what follows: the sidecar posts many events at a time
	limit       float64
	last        = map[string]event{} // the newest by source and subject
)

// events answers when the alarm, if there is to be one, is with the broker. What it answers with 503 comes again.
func events(body []byte) (int, string) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.ID == "" || e.Type == "" {
		return 200, `{"status":"DROP"}` // nobody can ever read it: to the dead letters
	}
	data, _ := e.Data.(map[string]any)
	values, _ := data["values"].(map[string]any)
	value, known := values[tag].(float64)
	before, seen := last[e.Source+e.Subject]
	if known && value > limit && (!seen || before.value <= limit) {
		// The id comes from the event's: it is the same alarm when the event comes again.
		alarm, _ := json.Marshal(map[string]any{"specversion": "1.0", "id": module + "/" + tag + "/" + e.ID, "type": "com.example.limit-passed.v1",
			"source": "/fieldgate/" + os.Getenv("FIELDGATE_APPLIANCE") + "/" + module, "subject": e.Subject, "time": e.Time,
			"datacontenttype": "application/json", "data": map[string]any{"tag": tag, "value": value, "limit": limit}})
		answer, err := http.Post(publish+"/alarms?metadata.rawPayload=true", "application/cloudevents+json", bytes.NewReader(alarm))
		if err != nil {
			return 503, err.Error()
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusNoContent {
			return 503, "the sidecar did not publish: " + answer.Status
		}
	}
	if known && !e.Time.Before(before.Time) {
		last[e.Source+e.Subject] = event{Time: e.Time, value: value}
	}
	return 200, "{}"
}

func command(body []byte) (int, string) {
	var input struct{ Limit *float64 }
	if err := json.Unmarshal(body, &input); err != nil {
		return 400, `{"error":{"code":"invalid-input","message":"limit is a number","field":"limit"}}`
	}
	if input.Limit != nil {
		if err := os.WriteFile(stored, fmt.Append(nil, *input.Limit), 0o600); err != nil {
			return 500, fmt.Sprintf(`{"error":{"code":"not-stored","message":%q}}`, err.Error())
		}
		limit = *input.Limit
	}
	return 200, fmt.Sprintf(`{"limit":%g}`, limit)
}

// post takes what comes from the sidecar, which is in the same pod, and from nobody else.
func post(path string, handle func([]byte) (int, string)) {
	http.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		status, text := 403, "{}"
		if body, err := io.ReadAll(r.Body); err == nil && netip.MustParseAddrPort(r.RemoteAddr).Addr().IsLoopback() {
			mutex.Lock()
			status, text = handle(body)
			mutex.Unlock()
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	})
}

func main() {
	mutex.Lock() // what is posted waits until this instance works
	for path, text := range map[string]string{"/healthz": "alive", "/readyz": "ready", "/commands": commands} {
		http.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	post("/events", events)
	post("/limit", command)
	server := http.Server{Addr: ":" + os.Getenv("FIELDGATE_APP_PORT")}
	go func() { log.Print(server.ListenAndServe()) }()
	// The instance before this one holds the lock until it has ended.
	lock, _ := syscall.Open(os.Getenv("FIELDGATE_LOCK"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err := syscall.Flock(lock, syscall.LOCK_EX); err != nil {
		log.Fatal("FIELDGATE_LOCK: ", err)
	}
	text, err := os.ReadFile(stored)
	if err != nil || len(text) == 0 {
		text = []byte(os.Getenv("WATCH_LIMIT"))
	}
	if _, err := fmt.Sscan(string(text), &limit); err != nil {
		log.Fatal("WATCH_LIMIT: ", err)
	}
	mutex.Unlock()
	ended, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	<-ended.Done()
	server.Shutdown(context.Background()) // answers what it has taken
}
