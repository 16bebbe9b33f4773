package jetstream

import (
	"strings"
	"testing"
)

func TestEventIDIsFoundWithoutTrippingOverOtherContent(t *testing.T) {
	cases := map[string]string{
		`{"specversion":"1.0","id":"reader/press/fast/e/7","data":{"id":"inner"}}`: "reader/press/fast/e/7",
		`{"data":{"id":"inner","list":[1,{"id":2}]},"id":"outer"}`:                 "outer",
		`{"data":{"id":"inner"}}`: "",
		`{"id":7}`:                "",
		`["id","x"]`:              "",
		`not json`:                "",
		`{"id":`:                  "",
		``:                        "",
	}
	for event, want := range cases {
		if got := eventID([]byte(event)); got != want {
			t.Errorf("eventID(%s) = %q, want %q", event, got, want)
		}
	}
}

// Dapr hands over the metadata of a secret that does not exist yet as an empty text.
func TestASecretThatIsNotThereIsNoConnectionWithoutIt(t *testing.T) {
	for _, name := range []string{"nkeySeed", "token", "inboxPrefix", "NKEYSEED"} {
		for _, value := range []string{"", " \n"} {
			_, err := parseSettings(map[string]string{"natsURL": "nats://127.0.0.1:4222", name: value})
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(name)+" is there but empty") {
				t.Errorf("%s = %q: %v", name, value, err)
			}
		}
	}
}

func TestAnInboxIsOneOfTheBrokersInboxes(t *testing.T) {
	with := func(prefix string) error {
		_, err := parseSettings(map[string]string{"natsURL": "nats://127.0.0.1:4222", "inboxPrefix": prefix})
		return err
	}
	for _, good := range []string{"_INBOX", "_INBOX.modbus-reader", "_INBOX.a_1.B"} {
		if err := with(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"telemetry", "_INBOX.", "_INBOX.>", "_INBOX.*", "_INBOX..a", "_INBOXES", "_INBOX.a b", "a._INBOX"} {
		if err := with(bad); err == nil || !strings.Contains(err.Error(), "inboxPrefix") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestMessagesNameTheUserAndNoSecret(t *testing.T) {
	seed, public := newUser(t)
	cases := map[string]settings{
		public:            {NatsURL: "nats://127.0.0.1:4222", NkeySeed: seed},
		`"reader"`:        {NatsURL: "nats://reader:hunter2@127.0.0.1:4222,nats://127.0.0.1:4223"},
		"this connection": {NatsURL: "nats://hunter2@127.0.0.1:4222"},
	}
	for want, s := range cases {
		if got := s.user(); !strings.Contains(got, want) || strings.Contains(got, seed) || strings.Contains(got, "hunter2") {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}

func TestSettingsNameEveryProblemAtOnce(t *testing.T) {
	_, err := parseSettings(map[string]string{"ackWait": "10ms", "maxAckPending": "0", "tls_client_cert": "x"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"natsURL", "ackWait", "maxAckPending", "tls_client_key"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
	s, err := parseSettings(map[string]string{"natsURL": "nats://127.0.0.1:4222", "ackWait": "30s"})
	if err != nil || s.AckWait.Seconds() != 30 || s.MaxAckPending != 1000 {
		t.Errorf("defaults: %+v, %v", s, err)
	}
}
