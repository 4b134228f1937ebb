import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Prints status, version and body of six calls by java.net.http's client, as it is without any configuration. */
class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient(); // asks for an upgrade to HTTP/2 with every first call
        for (String name : new String[] {"java", "java", "", "java", "x".repeat(5_000_000), "java"}) {
            String body = "{\"event_name\":\"" + name + "\",\"forward_to_statsig\":false}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
