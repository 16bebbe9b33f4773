package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/kit/logger"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

var loggers atomic.Int32

const patience = 30 * time.Second

func newUser(t *testing.T) (seed, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return string(secret), public
}

func initialise(properties map[string]string) (*PubSub, error) {
	// Loggers of one name are one.
	component := New(logger.NewLogger(fmt.Sprintf("test %d", loggers.Add(1)))).(*PubSub)
	base := metadata.Base{Name: "test", Properties: properties}
	return component, component.Init(context.Background(), pubsub.Metadata{Base: base})
}

func TestAWrongKeyIsRefusedAtInitAndNotRepeated(t *testing.T) {
	seed, public := newUser(t)
	account, _ := nkeys.CreateAccount()
	accountSeed, _ := account.Seed()
	url := "nats://127.0.0.1:1"
	cases := []struct {
		properties map[string]string
		words      string
	}{
		{map[string]string{"natsURL": url, "nkeySeed": "hunter2"}, "no nkey seed"},
		{map[string]string{"natsURL": url, "nkeySeed": public}, "no nkey seed"},
		{map[string]string{"natsURL": url, "nkeySeed": string(accountSeed)}, "something else than a user"},
		{map[string]string{"natsURL": url, "nkeySeed": seed, "token": "x"}, "nkeySeed and token"},
		{map[string]string{"natsURL": "nats://u:p@127.0.0.1:1", "nkeySeed": seed}, "a user in natsURL"},
	}
	for _, one := range cases {
		component, err := initialise(one.properties)
		if err == nil {
			component.Close()
			t.Errorf("%v was accepted", one.words)
		} else if !strings.Contains(err.Error(), one.words) || strings.Contains(err.Error(), one.properties["nkeySeed"]) {
			t.Errorf("want %q and no key, got: %v", one.words, err)
		}
	}
	component, err := initialise(map[string]string{"natsURL": url, "nkeySeed": seed + "\n"})
	if err != nil {
		t.Errorf("a seed with a line break, and a broker that is not there yet: %v", err)
	}
	component.Close()
}

// A real broker that knows two keys: one of the set-up and one that may publish telemetry only.
func TestAUserIsKnownByItsKeyAndHasItsRights(t *testing.T) {
	setupSeed, setupPublic := newUser(t)
	seed, public := newUser(t)
	broker := startBroker(t, fmt.Sprintf(`
		{nkey: %s}
		{nkey: %s, permissions: {publish: ["telemetry", "$JS.API.INFO"], subscribe: ["_INBOX.>"]}}`, setupPublic, public))
	createStream(t, broker.url, setupSeed)

	component, err := initialise(map[string]string{"natsURL": broker.url, "nkeySeed": seed})
	if err != nil {
		t.Fatal(err)
	}
	defer component.Close()
	publish := func(topic string) error {
		return component.Publish(context.Background(), &pubsub.PublishRequest{Topic: topic, Data: []byte(`{"id":"1"}`)})
	}
	eventually(t, func() error { return publish("telemetry") })
	if err = publish("commands"); err == nil || !strings.Contains(err.Error(), public) || !strings.Contains(err.Error(), `Publish to "commands"`) {
		t.Errorf("published what this user may not, or not told why: %v", err)
	}
}

// logged collects what a component logs.
type logged struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(line)
}

func (l *logged) contains(words ...string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, word := range words {
		if !strings.Contains(l.text.String(), word) {
			return fmt.Errorf("the log does not say %q: %s", word, l.text.String())
		}
	}
	return nil
}

// The key comes to the broker after the sidecar: it is refused until then, however often, and let in afterwards.
func TestAUserThatTheBrokerLearnsOfLaterIsLetIn(t *testing.T) {
	setupSeed, setupPublic := newUser(t)
	seed, public := newUser(t)
	known := fmt.Sprintf("{nkey: %s}", setupPublic)
	broker := startBroker(t, known)
	createStream(t, broker.url, setupSeed)
	component, err := initialise(map[string]string{"natsURL": broker.url, "nkeySeed": seed})
	if err != nil {
		t.Fatal(err)
	}
	defer component.Close()
	own := &logged{}
	component.log.SetOutput(own)
	eventually(t, func() error { return own.contains(public, "Authorization Violation", "trying again", "broker-keys") })
	if own.contains(seed) == nil {
		t.Error("a secret is in the log")
	}
	err = component.Publish(context.Background(), &pubsub.PublishRequest{Topic: "telemetry", Data: []byte(`{"id":"1"}`)})
	if err == nil || !strings.Contains(err.Error(), "no connection to the broker") {
		t.Errorf("the application is not told: %v", err)
	}
	eventually(t, func() error {
		log, err := os.ReadFile(broker.log)
		if refused := strings.Count(string(log), "authentication error"); err == nil && refused < 5 {
			err = fmt.Errorf("refused %d times", refused)
		}
		return err
	})
	broker.configure(t, known+fmt.Sprintf("\n{nkey: %s}", public))
	// A new user without a restart.
	if err = broker.server.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		return component.Publish(context.Background(), &pubsub.PublishRequest{Topic: "telemetry", Data: []byte(`{"id":"1"}`)})
	})
}

func eventually(t *testing.T, action func() error) {
	t.Helper()
	until := time.Now().Add(patience)
	for {
		err := action()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

type broker struct {
	url, folder, log string
	server           *os.Process
}

func (b *broker) configure(t *testing.T, users string) string {
	t.Helper()
	file := filepath.Join(b.folder, "nats.conf")
	text := fmt.Sprintf("listen: %q\nlog_file: %q\njetstream {store_dir: %q}\nauthorization {users: [%s]}\n",
		strings.TrimPrefix(b.url, "nats://"), b.log, b.folder, users)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func startBroker(t *testing.T, users string) *broker {
	t.Helper()
	program := os.Getenv("FIELDGATE_NATS_SERVER")
	if program == "" {
		platform := os.Getenv("FIELDGATE_PLATFORM_DIR")
		if platform == "" {
			platform = "../../../target/platform"
		}
		program = filepath.Join(platform, "nats-server")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v: scripts/demo builds it; or set FIELDGATE_NATS_SERVER", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	b := &broker{url: "nats://" + listener.Addr().String(), folder: folder, log: filepath.Join(folder, "nats-server.log")}
	listener.Close()
	server := exec.Command(program, "--config", b.configure(t, users))
	if err = server.Start(); err != nil {
		t.Fatal(err)
	}
	b.server = server.Process
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	return b
}

func createStream(t *testing.T, url, seed string) {
	t.Helper()
	user, err := settings{NkeySeed: seed}.nkey()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return tryToCreateStream(url, user) })
}

func tryToCreateStream(url string, user nats.Option) error {
	conn, err := nats.Connect(url, user)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := js.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	_, err = stream.CreateStream(ctx, js.StreamConfig{Name: "events", Subjects: []string{"telemetry", "commands"}})
	return err
}
