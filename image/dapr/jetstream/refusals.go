package jetstream

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// refusalPause is how long a refusal that repeats itself is not logged again.
const refusalPause = time.Minute

// lookPause is the pause between two looks at a connection that is not there.
const lookPause = time.Second

// refusals remembers what the broker says against this connection: for the log, and for the application whose publish fails by it.
type refusals struct {
	mutex  sync.Mutex
	last   string
	at     time.Time
	logged time.Time
}

// note returns whether to log it: a wrong key is refused with every attempt to connect.
func (r *refusals) note(text string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := time.Now()
	news := text != r.last || now.Sub(r.logged) >= refusalPause
	r.last, r.at = text, now
	if news {
		r.logged = now
	}
	return news
}

// since is the last refusal, if it came after the given time.
func (r *refusals) since(start time.Time) string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.at.Before(start) {
		return ""
	}
	return r.last
}

// refused is told by the NATS client what the broker has against this connection. It is tried again for ever.
func (p *PubSub) refused(err error) {
	text := p.remedy(err)
	if p.refusals.note(text) {
		p.log.Warn(text)
	}
}

// watch tells what the NATS client (1.39) keeps to itself: before it has connected for the first time, neither a broker that cannot be
// reached nor one that refuses the key comes to its error handler.
func (p *PubSub) watch() {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		select {
		case <-p.closing.Done():
			return
		case <-tick.C:
		}
		if p.conn.IsConnected() {
			continue
		}
		if err := p.conn.LastError(); err != nil {
			p.refused(err)
		} else if p.refusals.note("no connection") {
			p.log.Warnf("no connection to the broker; trying again")
		}
	}
}

func (p *PubSub) remedy(err error) string {
	switch user := p.settings.user(); {
	case isAuthorization(err):
		return fmt.Sprintf("the broker does not let %s in: %v; trying again. The broker must know exactly this user: on Kubernetes its public key "+
			"stands in the Secret broker-keys, which the broker reads when it starts (`fieldgate secrets --rotate MODULE` makes a new pair and restarts "+
			"both)", user, err)
	case errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), "_INBOX"):
		return fmt.Sprintf("the broker refuses %s its inbox: %v; nothing is published or received until inboxPrefix is the one that the broker's "+
			"configuration lets this user subscribe to (_INBOX.<user>)", user, err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Sprintf("the broker refuses %s: %v; its rights stand in the broker's configuration, made from what the module publishes and "+
			"subscribes to", user, err)
	default:
		return fmt.Sprintf("the broker says to %s: %v", user, err)
	}
}

func isAuthorization(err error) bool {
	for _, one := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// explained adds to a failed publish what the application cannot see: why there is no connection, or what the broker has refused since.
func (p *PubSub) explained(failure error, since time.Time) error {
	if !p.conn.IsConnected() {
		if reason := p.conn.LastError(); reason != nil {
			return fmt.Errorf("no connection to the broker (%w): %w", reason, failure)
		}
		return fmt.Errorf("no connection to the broker: %w", failure)
	}
	if refusal := p.refusals.since(since); refusal != "" {
		return fmt.Errorf("%w; %s", failure, refusal)
	}
	return failure
}
