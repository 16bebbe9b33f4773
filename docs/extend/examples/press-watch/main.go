// Press-watch is a module in Go's own library: it raises an alarm when a tag passes a limit, and offers the command `limit`.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const commands = `{"commands":[{"name":"limit","description":"Sets the limit, or tells it: {\"limit\"}",
 "input":{"type":"object","properties":{"limit":{"type":"number"}}},"output":{"type":"object","properties":{"limit":{"type":"number"}}}}]}`

type event struct {
	ID, Source, Type, Subject string
	Data                      struct {
		Device    string
		Timestamp time.Time
		Values    map[string]any
	}
}

var (
	module, tag, lock = os.Getenv("FIELDGATE_MODULE"), os.Getenv("WATCH_TAG"), os.Getenv("FIELDGATE_LOCK") // no lock without storage
	file              = filepath.Join(filepath.Dir(lock), "limit")
	alarms            = "http://127.0.0.1:" + os.Getenv("DAPR_HTTP_PORT") + "/v1.0/publish/" + os.Getenv("FIELDGATE_PUBSUB") + "/alarms?metadata.rawPayload=true"
	client            = http.Client{Timeout: 15 * time.Second}
	works             atomic.Bool // once the instance before this one has ended
	mutex             sync.Mutex  // of what follows: the sidecar posts many events at a time
	limit             float64
	held              *os.File
	last              = map[string]event{} // the newest by source and subject
)

// take returns when the alarm, if there is one, is with the broker. Its id comes from the event: one event, one alarm, however often it is tried.
func take(e event) error {
	mutex.Lock()
	defer mutex.Unlock()
	value, known := e.Data.Values[tag].(float64)
	before, seen := last[e.Source+e.Subject]
	if was, _ := before.Data.Values[tag].(float64); known && value > limit && (!seen || was <= limit) {
		body, _ := json.Marshal(map[string]any{"specversion": "1.0", "id": module + "/" + tag + "/" + e.ID, "type": "com.example.limit-passed.v1",
			"source": "/fieldgate/" + os.Getenv("FIELDGATE_APPLIANCE") + "/" + module, "subject": e.Data.Device, "time": e.Data.Timestamp,
			"datacontenttype": "application/json", "data": map[string]any{"device": e.Data.Device, "tag": tag, "value": value, "limit": limit}})
		response, err := client.Post(alarms, "application/cloudevents+json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		if response.Body.Close(); response.StatusCode != http.StatusNoContent {
			return fmt.Errorf("the sidecar did not publish: %s", response.Status)
		}
	}
	if known && !e.Data.Timestamp.Before(before.Data.Timestamp) {
		last[e.Source+e.Subject] = e
	}
	return nil
}

func events(body []byte) (int, string) {
	var e event
	if err := json.Unmarshal(body, &e); err != nil || e.ID == "" || e.Type == "" {
		return 200, `{"status":"DROP"}` // nobody will ever read it: to the dead letters
	}
	if e.Type == "com.fieldgate.measurements.v1" {
		if err := take(e); err != nil {
			log.Print(err)
			return 503, "{}" // it comes again
		}
	}
	return 200, "{}"
}

func setLimit(body []byte) (int, string) {
	input := struct{ Limit *float64 }{}
	if err := json.Unmarshal(body, &input); err != nil {
		return 400, `{"error":{"code":"invalid-input","message":"limit is a number","field":"limit"}}`
	}
	mutex.Lock()
	defer mutex.Unlock()
	if input.Limit != nil {
		if err := store(*input.Limit); err != nil {
			log.Print(err)
			return 500, `{"error":{"code":"not-stored","message":"the limit could not be stored, so the one before holds"}}`
		}
		limit = *input.Limit
	}
	return 200, fmt.Sprintf(`{"limit":%g}`, limit)
}

func store(limit float64) error {
	if lock == "" {
		return nil
	}
	return errors.Join(os.WriteFile(file+".new", fmt.Append(nil, limit), 0o600), os.Rename(file+".new", file))
}

// post gives a handler only what the sidecar sends, which is in the same pod, and only while this instance works.
func post(handle func([]byte) (int, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		status, text := 503, `{"error":{"code":"standby","message":"another instance still works; try again"}}`
		if body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20)); err != nil || !net.ParseIP(host).IsLoopback() {
			status, text = 403, "{}"
		} else if works.Load() {
			status, text = handle(body)
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// begin waits for the lock, which the process then holds until it ends, and takes the limit that was set last.
func begin() {
	text := os.Getenv("WATCH_LIMIT")
	if lock != "" {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			log.Fatal(err)
		}
		held = f
		if stored, err := os.ReadFile(file); err == nil {
			text = string(stored)
		}
	}
	var err error
	if limit, err = strconv.ParseFloat(text, 64); err != nil {
		log.Fatal("WATCH_LIMIT: ", err)
	}
	works.Store(true)
}

func main() {
	well := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }
	http.HandleFunc("GET /healthz", well)
	http.HandleFunc("GET /readyz", well) // also while it waits for the lock: only then the instance before is ended
	http.HandleFunc("GET /commands", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, commands) })
	http.HandleFunc("POST /events", post(events))
	http.HandleFunc("POST /limit", post(setLimit))
	server := http.Server{Addr: ":" + os.Getenv("FIELDGATE_APP_PORT")}
	ended, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go begin()
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-ended.Done()
	patience, _ := context.WithTimeout(context.Background(), 15*time.Second)
	server.Shutdown(patience)
}
