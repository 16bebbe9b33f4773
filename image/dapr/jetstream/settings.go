package jetstream

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	contribmetadata "github.com/dapr/kit/metadata"
)

// settings are the component's metadata. The names they share with version v1 mean the same there.
type settings struct {
	// NatsURL is one or more comma-separated nats:// or tls:// addresses; they may carry user and password.
	NatsURL string `mapstructure:"natsURL"`
	Token   string `mapstructure:"token"`
	// NkeySeed is the private key of the broker's user (an nkey user seed, SU…). It never leaves this process: the broker is given the
	// public key and a signature. It takes the place of a token, and of a user in NatsURL.
	NkeySeed string `mapstructure:"nkeySeed"`
	// InboxPrefix begins the subjects on which answers and pulled events come to this user (default _INBOX). Where the broker lets each
	// user listen to its own only, it is _INBOX.<user>; another value than the broker's rights name makes it refuse the subscription.
	InboxPrefix string `mapstructure:"inboxPrefix"`

	TLSClientCert string `mapstructure:"tls_client_cert"`
	TLSClientKey  string `mapstructure:"tls_client_key"`
	// TLSCA is a file with the certificates to trust instead of the system's.
	TLSCA string `mapstructure:"tls_ca"`

	// StreamName is looked up by the topic when it is empty.
	StreamName string `mapstructure:"streamName"`
	// DurableName names the consumer. A component that subscribes needs one, and subscribes to one topic only.
	DurableName string `mapstructure:"durableName"`
	// AckWait is how long the broker waits for a sidecar that has vanished before it delivers again (1 s to 10 min, default 5 s).
	AckWait time.Duration `mapstructure:"ackWait"`
	// RedeliverDelay is the pause before a message that the application refused comes again (0 to 10 min, default 1 s).
	RedeliverDelay time.Duration `mapstructure:"redeliverDelay"`
	// MaxAckPending bounds the messages that are on their way to the application (1 to 65536, default 1000).
	MaxAckPending int `mapstructure:"maxAckPending"`
}

// neverEmpty is the metadata that must have a value where it is named at all. A secret that does not exist yet arrives as an empty text,
// and the connection must not be tried for ever without it: Init fails, the sidecar ends and is started again.
var neverEmpty = []string{"nkeySeed", "token", "inboxPrefix"}

// inboxPrefix keeps answers out of the way of topics, and wildcards out of the prefix.
var inboxPrefix = regexp.MustCompile(`^_INBOX(\.[A-Za-z0-9_-]+)*$`)

func parseSettings(properties map[string]string) (settings, error) {
	s := settings{AckWait: 5 * time.Second, RedeliverDelay: time.Second, MaxAckPending: 1000}
	if err := contribmetadata.DecodeMetadata(properties, &s); err != nil {
		return s, err
	}
	// A secret's file often ends in a line break.
	s.NkeySeed = strings.TrimSpace(s.NkeySeed)
	_, seedProblem := s.nkey()
	return s, errors.Join(
		within("natsURL is missing", s.NatsURL != ""),
		emptyProblem(properties),
		seedProblem,
		within(fmt.Sprintf("inboxPrefix is %q, it must be _INBOX, or _INBOX. and the user's name in letters, digits, - and _", s.InboxPrefix),
			s.InboxPrefix == "" || inboxPrefix.MatchString(s.InboxPrefix)),
		within("nkeySeed and token exclude each other: set one of them", s.NkeySeed == "" || s.Token == ""),
		within("nkeySeed and a user in natsURL exclude each other: leave out what stands before the @", s.NkeySeed == "" || !strings.Contains(s.NatsURL, "@")),
		within("tls_client_cert and tls_client_key go together", (s.TLSClientCert == "") == (s.TLSClientKey == "")),
		within(fmt.Sprintf("ackWait is %s, it must be 1s to 10m", s.AckWait), s.AckWait >= time.Second && s.AckWait <= 10*time.Minute),
		within(fmt.Sprintf("redeliverDelay is %s, it must be 0s to 10m", s.RedeliverDelay), s.RedeliverDelay >= 0 && s.RedeliverDelay <= 10*time.Minute),
		within(fmt.Sprintf("maxAckPending is %d, it must be 1 to 65536", s.MaxAckPending), s.MaxAckPending >= 1 && s.MaxAckPending <= 65536),
	)
}

func emptyProblem(properties map[string]string) error {
	var problems []error
	for _, name := range neverEmpty {
		value, named := contribmetadata.GetMetadataProperty(properties, name)
		problems = append(problems, within(name+" is there but empty: its secret does not exist yet, or has no such key (on Kubernetes, "+
			"`fieldgate secrets` makes the Secret broker-MODULE with the key nkey); the sidecar has to start again when it is there",
			!named || strings.TrimSpace(value) != ""))
	}
	return errors.Join(problems...)
}

func within(problem string, ok bool) error {
	if ok {
		return nil
	}
	return errors.New(problem)
}

// nkey makes the seed an option of the connection; nil without a seed. No error repeats the seed.
func (s settings) nkey() (nats.Option, error) {
	public, pair, err := s.keys()
	if pair == nil {
		return nil, err
	}
	return nats.Nkey(public, pair.Sign), nil
}

// keys are the public key and the pair; no pair without a seed.
func (s settings) keys() (string, nkeys.KeyPair, error) {
	if s.NkeySeed == "" {
		return "", nil, nil
	}
	pair, err := nkeys.FromSeed([]byte(s.NkeySeed))
	if err != nil {
		return "", nil, errors.New("nkeySeed is no nkey seed: it must be the private key of the broker's user, 58 characters that begin with SU")
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", nil, errors.New("nkeySeed is the seed of something else than a user: it must begin with SU")
	}
	return public, pair, nil
}

// user names the broker's user for messages, without any secret.
func (s settings) user() string {
	if public, pair, err := s.keys(); err == nil && pair != nil {
		return "the user with the public key " + public
	}
	first, _, _ := strings.Cut(s.NatsURL, ",")
	if address, err := url.Parse(strings.TrimSpace(first)); err == nil && address.User.Username() != "" && s.Token == "" {
		if _, withPassword := address.User.Password(); withPassword {
			return fmt.Sprintf("the user %q", address.User.Username())
		}
	}
	return "this connection"
}

func (s settings) connectOptions() ([]nats.Option, error) {
	var options []nats.Option
	nkey, err := s.nkey()
	if err != nil {
		return nil, err
	}
	if nkey != nil {
		options = append(options, nkey)
	}
	if s.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(s.InboxPrefix))
	}
	if s.Token != "" {
		options = append(options, nats.Token(s.Token))
	}
	if s.TLSClientCert != "" {
		options = append(options, nats.ClientCert(s.TLSClientCert, s.TLSClientKey))
	}
	if s.TLSCA != "" {
		options = append(options, nats.RootCAs(s.TLSCA))
	}
	return options, nil
}
