package jetstream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr/components-contrib/pubsub"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// stored are the topics and ids of what the stream holds, in its order.
func stored(t *testing.T, url, seed string) []string {
	t.Helper()
	user, err := settings{NkeySeed: seed}.nkey()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(url, user)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	stream, err := client.Stream(ctx, "events")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for number := uint64(1); number <= stream.CachedInfo().State.LastSeq; number++ {
		message, err := stream.GetMsg(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, message.Subject+" "+message.Header.Get(js.MsgIDHeader))
	}
	return found
}

// Dapr publishes a dead letter as a copy of the event with its id, and one stream carries both topics.
func TestAnIDIsAsGoodOnASecondTopicAndARepetitionOnTheSame(t *testing.T) {
	t.Parallel()
	seed, public := newUser(t)
	broker := startBroker(t, fmt.Sprintf("{nkey: %s}", public))
	createStream(t, broker.url, seed)
	component, err := initialise(map[string]string{"natsURL": broker.url, "nkeySeed": seed})
	if err != nil {
		t.Fatal(err)
	}
	defer component.Close()
	for _, topic := range []string{"commands", "telemetry", "commands", "telemetry"} {
		eventually(t, func() error {
			return component.Publish(context.Background(), &pubsub.PublishRequest{Topic: topic, Data: []byte(`{"id":"hub/command/7"}`)})
		})
	}
	want := []string{"commands commands/hub/command/7", "telemetry telemetry/hub/command/7"}
	if got := stored(t, broker.url, seed); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("stored: %q", got)
	}
}

// Each user may listen to its own inbox only; publishing and pulling work with it.
func TestAUserHasAnInboxOfItsOwn(t *testing.T) {
	t.Parallel()
	setupSeed, setupPublic := newUser(t)
	seed, public := newUser(t)
	broker := startBroker(t, fmt.Sprintf(`
		{nkey: %s}
		{nkey: %s, permissions: {publish: ["telemetry", "$JS.API.>", "$JS.ACK.>"], subscribe: ["_INBOX.reader.>"]}}`, setupPublic, public))
	createStream(t, broker.url, setupSeed)
	properties := func(prefix string) map[string]string {
		all := map[string]string{"natsURL": broker.url, "nkeySeed": seed, "durableName": "reader-telemetry"}
		if prefix != "" {
			all["inboxPrefix"] = prefix
		}
		return all
	}
	publish := func(component *PubSub) error {
		return component.Publish(context.Background(), &pubsub.PublishRequest{Topic: "telemetry", Data: []byte(`{"id":"1"}`)})
	}

	component, err := initialise(properties("_INBOX.reader"))
	if err != nil {
		t.Fatal(err)
	}
	defer component.Close()
	eventually(t, func() error { return publish(component) })
	arrived := make(chan string, 1)
	err = component.Subscribe(context.Background(), pubsub.SubscribeRequest{Topic: "telemetry"}, func(_ context.Context, message *pubsub.NewMessage) error {
		select {
		case arrived <- string(message.Data):
		default:
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-arrived:
		if text != `{"id":"1"}` {
			t.Errorf("arrived: %s", text)
		}
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}

	for _, foreign := range []string{"", "_INBOX.hub"} {
		other, err := initialise(properties(foreign))
		if err != nil {
			t.Fatal(err)
		}
		own := &logged{}
		other.log.SetOutput(own)
		eventually(t, func() error {
			_, _ = other.stream.PublishAsync("telemetry", nil)
			return own.contains("Permissions Violation for Subscription", "inboxPrefix", public)
		})
		other.Close()
	}
}

// An application that is at work keeps what it holds, for as long as it takes; one that has left its subscription does not.
func TestWhatAnApplicationLeftUnansweredComesAgain(t *testing.T) {
	t.Parallel()
	seed, public := newUser(t)
	broker := startBroker(t, fmt.Sprintf("{nkey: %s}", public))
	createStream(t, broker.url, seed)
	component, err := initialise(map[string]string{"natsURL": broker.url, "nkeySeed": seed, "durableName": "reader-telemetry", "ackWait": "1s"})
	if err != nil {
		t.Fatal(err)
	}
	defer component.Close()
	eventually(t, func() error {
		return component.Publish(context.Background(), &pubsub.PublishRequest{Topic: "telemetry", Data: []byte(`{"id":"1"}`)})
	})

	answer := make(chan struct{})
	defer close(answer)
	holds := func(arrived chan<- struct{}) pubsub.Handler {
		return func(context.Context, *pubsub.NewMessage) error {
			arrived <- struct{}{}
			<-answer
			return nil
		}
	}
	first, second := make(chan struct{}, 8), make(chan struct{}, 8)
	atWork, leave := context.WithCancel(context.Background())
	defer leave()
	if err := component.Subscribe(atWork, pubsub.SubscribeRequest{Topic: "telemetry"}, holds(first)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first:
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}
	select {
	case <-first:
		t.Fatal("it was delivered a second time to an application that is at work on it")
	case <-time.After(3 * time.Second):
	}
	leave()
	if err := component.Subscribe(context.Background(), pubsub.SubscribeRequest{Topic: "telemetry"}, holds(second)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-second:
	case <-time.After(patience):
		t.Fatal("what was left unanswered did not come again")
	}
}
