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
