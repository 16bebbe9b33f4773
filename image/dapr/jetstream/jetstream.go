// Package jetstream is the pub/sub component `pubsub.jetstream`, version `v2`: JetStream with an acknowledgement that follows
// the application's, publishes that keep their order, and connections that never give up.
//
// Upstream's component (version v1, still in this build) cannot carry Fieldgate's delivery promise
// (docs/decisions/0003-broker-nats-jetstream.md):
//
//   - with `concurrency: parallel` the NATS client acknowledges a message as soon as it was handed out, before the application
//     has seen it (nats.go, js.go: automatic acknowledgement unless ManualAck is set);
//   - with `concurrency: single` one message at a time travels to the application and back;
//   - after 60 failed reconnects, about two minutes, the connection is closed for good, and a broker that is not there when the sidecar
//     starts ends the sidecar.
//
// Here a durable pull consumer hands out up to maxAckPending messages at a time; each is acknowledged when the application
// has answered, kept alive meanwhile, and redelivered after a failure.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	contribmetadata "github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/kit/logger"
)

// publishTimeout bounds one publish: the broker's confirmation must arrive within it.
const publishTimeout = 5 * time.Second

// subscribeRetry is the pause before a lost or refused consumer is asked for again.
const subscribeRetry = 500 * time.Millisecond

// PubSub is the component. One connection serves publishing and all subscriptions.
type PubSub struct {
	log      logger.Logger
	settings settings
	conn     *nats.Conn
	stream   js.JetStream
	closing  context.Context
	close    context.CancelFunc
	// running are the subscriptions and the watch over the connection.
	running  sync.WaitGroup
	refusals refusals
}

// New is the factory that Dapr's registry calls.
func New(log logger.Logger) pubsub.PubSub {
	closing, closeAll := context.WithCancel(context.Background())
	return &PubSub{log: log, closing: closing, close: closeAll}
}

// Init reads the settings and starts to connect. A broker that is not there yet is no error: publishing fails and
// subscriptions wait until it is.
func (p *PubSub) Init(_ context.Context, metadata pubsub.Metadata) error {
	var err error
	if p.settings, err = parseSettings(metadata.Properties); err != nil {
		return err
	}
	options, err := p.settings.connectOptions()
	if err != nil {
		return err
	}
	options = append(options,
		nats.Name(metadata.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		// A broker may learn of a user later than the user's sidecar starts.
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.refused(err) }),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(10*time.Second),
		// Nothing is buffered while the broker is away: a publish fails at once, and its module repeats it.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { p.log.Warnf("broker connection lost: %v; reconnecting", err) }),
		nats.ConnectHandler(func(c *nats.Conn) { p.log.Infof("connected to the broker: %s", c.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(c *nats.Conn) { p.log.Infof("broker connection is back: %s", c.ConnectedUrlRedacted()) }),
	)
	if p.conn, err = nats.Connect(p.settings.NatsURL, options...); err != nil {
		return fmt.Errorf("natsURL: %w", err)
	}
	if p.stream, err = js.New(p.conn, js.WithPublishAsyncMaxPending(4096)); err != nil {
		return err
	}
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		p.watch()
	}()
	return nil
}

// Features says that bulk publishes come to BulkPublish instead of one by one.
func (p *PubSub) Features() []pubsub.Feature {
	return []pubsub.Feature{pubsub.FeatureBulkPublish}
}

// Publish returns when the stream has stored the message, or has recognised its topic and id as a repetition.
func (p *PubSub) Publish(ctx context.Context, req *pubsub.PublishRequest) error {
	_, err := p.BulkPublish(ctx, &pubsub.BulkPublishRequest{
		Topic:   req.Topic,
		Entries: []pubsub.BulkMessageEntry{{EntryId: "1", Event: req.Data}},
	})
	return err
}

// BulkPublish sends all entries in their order before it waits for the first confirmation. The answer lists the entries that
// were not confirmed; the caller repeats them, and the id makes a repetition harmless.
func (p *PubSub) BulkPublish(ctx context.Context, req *pubsub.BulkPublishRequest) (pubsub.BulkPublishResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	start := time.Now()
	futures := make([]js.PubAckFuture, len(req.Entries))
	failures := make([]error, len(req.Entries))
	for i, entry := range req.Entries {
		message := &nats.Msg{Subject: req.Topic, Data: entry.Event}
		var options []js.PublishOpt
		if id := messageID(req.Topic, entry.Event); id != "" {
			options = append(options, js.WithMsgID(id))
		}
		if futures[i], failures[i] = p.stream.PublishMsgAsync(message, options...); failures[i] != nil {
			for rest := i + 1; rest < len(req.Entries); rest++ {
				failures[rest] = errors.New("not sent, because an entry before it could not be sent")
			}
			break
		}
	}
	for i, future := range futures {
		if future == nil {
			continue
		}
		select {
		case <-future.Ok():
		case failures[i] = <-future.Err():
		case <-ctx.Done():
			failures[i] = fmt.Errorf("the broker did not confirm within %s: %w", publishTimeout, ctx.Err())
		}
	}
	var response pubsub.BulkPublishResponse
	for i, failure := range failures {
		if failure != nil {
			response.FailedEntries = append(response.FailedEntries, pubsub.BulkPublishResponseFailedEntry{EntryId: req.Entries[i].EntryId, Error: p.explained(failure, start)})
		}
	}
	if len(response.FailedEntries) > 0 {
		return response, pubsub.NewRetriableError(fmt.Errorf("%d of %d messages on %s were not confirmed: %w",
			len(response.FailedEntries), len(req.Entries), req.Topic, response.FailedEntries[0].Error))
	}
	return response, nil
}

// Subscribe hands messages of the topic to the handler until ctx ends or the component is closed.
func (p *PubSub) Subscribe(ctx context.Context, req pubsub.SubscribeRequest, handler pubsub.Handler) error {
	if p.closing.Err() != nil {
		return errors.New("component is closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	stopOnClose := context.AfterFunc(p.closing, cancel)
	s := &subscription{topic: req.Topic, handler: handler, room: make(chan struct{}, p.settings.MaxAckPending)}
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		defer s.running.Wait()
		defer cancel()
		defer stopOnClose()
		for ctx.Err() == nil {
			if err := p.consume(ctx, s); err != nil && ctx.Err() == nil {
				p.log.Warnf("subscription to %s: %v; trying again", req.Topic, err)
				select {
				case <-ctx.Done():
				case <-time.After(subscribeRetry):
				}
			}
		}
	}()
	return nil
}

// Close ends all subscriptions, waits for handlers that are still running, and disconnects.
func (p *PubSub) Close() error {
	p.close()
	p.running.Wait()
	if p.conn != nil {
		p.conn.Close()
	}
	return nil
}

// GetComponentMetadata lists the settings for Dapr's tooling.
func (p *PubSub) GetComponentMetadata() (info contribmetadata.MetadataMap) {
	_ = contribmetadata.GetMetadataInfoFromStructType(reflect.TypeOf(settings{}), &info, contribmetadata.PubSubType)
	return info
}
